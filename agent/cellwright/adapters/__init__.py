"""Tools from elsewhere made ours: LangChain tools, Gradio apps, and anything that describes itself by a JSON schema.

Each is an extra (`pip install "cellwright[langchain]"`, `"cellwright[gradio]"`), imported only when it is used.
"""
