import configparser
c = configparser.ConfigParser()
with open("config.ini") as f:
    c.read_file(f)
print(c["db"]["host"], c.getint("db", "port"))
