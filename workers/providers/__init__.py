"""Where answers come from: one protocol with one method, and who honours it."""
