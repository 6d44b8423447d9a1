import argparse
p = argparse.ArgumentParser()
p.add_argument("--name", help="who to greet")
p.parse_args()
