"""HTTP pieces that the services' own routes need. The application around them is platform's."""
