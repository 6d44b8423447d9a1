def run():
    import late
    return late.answer()

print(run())
