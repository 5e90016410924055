"""What lies on disk: files, RECORD, the journal, bytecode, and the lock."""
