"""What takes too long for every index: made where somebody asks for it, and kept."""
