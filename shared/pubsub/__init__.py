"""Listen on Redis channels, in a thread or on an event loop, by one policy.

A listener subscribes, receives, and pings Redis when it was silent for a while; a connection that answers no ping is given up.
Whatever goes wrong, also in a callback, is logged, and the listener connects and subscribes anew after a short wait. Messages that
are published meanwhile are lost: a user of a listener that needs them is called when a subscription is confirmed, and looks then.
"""
