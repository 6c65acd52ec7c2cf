"""The programs of `bin/dev` as processes: started, watched, ended, and their output on one terminal."""
