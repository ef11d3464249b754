"""What is suggested for a word that is not known."""

from service.model.suggestions import suggest


def test_the_closest_word_is_suggested():
    """
    A misspelt word brings the known one nearest to it.
    """
    assert " Did you mean 'memory'?" == suggest("memry", ["cpu", "memory", "name"])


def test_nothing_is_suggested_where_nothing_is_close():
    """
    A word that is like no other brings no suggestion.
    """
    assert suggest("xyz", ["cpu", "memory"]) == ""
