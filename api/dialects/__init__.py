"""Other projects' wires, one module or small package each: translations, with no logic of their own."""
