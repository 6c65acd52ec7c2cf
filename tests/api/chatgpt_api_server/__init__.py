"""The dialect chatgpt_api_server."""
