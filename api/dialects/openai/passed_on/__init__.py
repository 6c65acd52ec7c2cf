"""Objects of the provider that are passed on as they are, each the answer of a job: moderations, embeddings."""
