"""What a sweep file and a training file say, read strictly into frozen dataclasses."""
