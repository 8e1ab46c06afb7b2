"""Is this dataset what data/schema.yaml says? Findings for programs, one page for people."""
