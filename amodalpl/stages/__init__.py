"""The stages of the pipeline, one file each: functions from paths and settings to files and a summary.

check -> synth -> complete -> pseudolabel -> train_detector -> evaluate; `pipeline` runs them all, `demo` does so on
drawn scenes.
"""
