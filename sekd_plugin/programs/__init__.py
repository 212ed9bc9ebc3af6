"""Running other ``sekd`` commands: they never outlive who started them, and can be watched."""
