"""Changes of trained layers: experts selected, copied, merged or perturbed, and measured."""
