"""LTI 1.3 Advantage: learning platforms that launch the chat as a tool."""
