"""The pages of docs/steps: what each step of CryoSPARC does to a storage, with figures that the program works out."""
