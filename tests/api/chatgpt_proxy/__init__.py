"""The dialect chatgpt_proxy."""
