WORDS = {"de": "Hallo", "fr": "Salut"}
