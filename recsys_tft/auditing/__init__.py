"""The leak audit: does any row change when its future does?"""
