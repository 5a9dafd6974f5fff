"""What an output was made from, followed back through the fingerprints of its inputs."""
