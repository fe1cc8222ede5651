"""The consumer that one writes with FastStream and SQLAlchemy's object mapper."""
