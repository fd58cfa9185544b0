"""The screen: a Streamlit explorer that shows what the bench serves."""
