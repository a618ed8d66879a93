"""The room of GitHub: REST and GraphQL, webhooks, artifacts, identity tokens. Decides nothing about sessions."""
