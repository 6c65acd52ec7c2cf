"""The built-in model, as the official SDK sees it: a real process, real sockets, every option it promises."""
