import sys
print(sys.stdout.encoding.lower(), sys.getdefaultencoding(), sys.getfilesystemencoding())
