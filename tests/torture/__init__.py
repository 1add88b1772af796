"""`make torture`: kills commands at random moments and gives them broken inputs. Not part of CI."""
