"""What figures are worth: intervals, tests, calibration, breakdowns, kinds of errors."""
