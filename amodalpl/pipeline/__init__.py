"""The stages of the pipeline, one file each: functions from paths and settings to files and a summary."""
