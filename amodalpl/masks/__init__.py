"""Binary masks: run lengths, boxes, neighbourhoods, and who owns a shared pixel."""
