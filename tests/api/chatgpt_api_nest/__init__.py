"""The dialect chatgpt_api_nest."""
