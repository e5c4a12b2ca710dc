"""How a platform computes: in fp32, in int8, or on an analog array; and a net that computes so."""
