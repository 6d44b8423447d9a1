import plugins.one
print(plugins.one.VALUE)
