"""The page of `ofa report`: what it says (`contents`, `subnets`), and its HTML (`html`)."""
