"""Other measures of how far two distributions over the classes are apart than KD's."""
