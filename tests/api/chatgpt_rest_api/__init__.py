"""The dialect chatgpt_rest_api."""
