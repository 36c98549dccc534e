"""What test suites of Navai applications use: nothing here is loaded by the package itself."""
