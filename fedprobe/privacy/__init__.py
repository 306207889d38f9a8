"""The arithmetic of the guarantee: the mechanism, its noise, its accounting, the rules of cohorts.

Pure of torch, of files and of every other room, so that it can be read and checked on its own.
"""
