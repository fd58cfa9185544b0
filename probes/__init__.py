"""The instruments: functions and estimators that read anybody's arrays."""
