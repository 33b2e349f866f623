"""Copies of images in a data set: the same file, the same photograph saved otherwise, or an altered one.

A copy in another split is a leak: the network is tested on what it was trained on. `find` returns them, `resolve`
puts them into one split or drops them.
"""
