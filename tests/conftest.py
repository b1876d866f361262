"""Tests read the program's English texts, whatever the locale of whoever runs them; those of languages name theirs."""

import os

os.environ["LC_ALL"] = "C.UTF-8"
