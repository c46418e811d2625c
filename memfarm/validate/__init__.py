"""The acceptance of a machine: is what is kept in files as good there as what is kept in memory?"""
