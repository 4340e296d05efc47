"""What a person is asked, sees and answers."""
