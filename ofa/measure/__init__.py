"""The accuracy of a subnet: extracted, recalibrated, evaluated."""
