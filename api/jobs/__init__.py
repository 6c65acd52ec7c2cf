"""A job from its submission to its deletion, as its owner sees it."""
