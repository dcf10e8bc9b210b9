"""What is learned: text -> tensors -> model -> text."""
