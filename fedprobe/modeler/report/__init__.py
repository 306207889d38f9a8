"""A report: what runs say, as one HTML file that needs nothing else; made from run directories alone."""
