def double(n):
    """
    >>> double(2)
    4
    """
    return 2 * n

import doctest
print(doctest.testmod())
