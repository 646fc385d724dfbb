# What `nix flake check` runs: the file starts, and the salt is what lib.nix says of it.
{
  pkgs,
  package,
  lib,
}:
let
  throws = value: !(builtins.tryEval value).success;
  some = lib.keySalt pkgs [ pkgs.rustc ];
  facts = {
    "the salt of one tool and of a list of it are the same" = some == lib.keySalt pkgs pkgs.rustc;
    "another tool gives another salt" = some != lib.keySalt pkgs [ pkgs.cargo ];
    "the order of tools does not matter" =
      lib.keySalt pkgs [
        pkgs.rustc
        pkgs.cargo
      ] == lib.keySalt pkgs [
        pkgs.cargo
        pkgs.rustc
      ];
    "no tools are refused" = throws (lib.keySalt pkgs [ ]);
    "what is no package is refused" = throws (lib.keySalt pkgs [ "rustc" ]);
    "a salt has no context" = !(builtins.hasContext some);
  };
  broken = builtins.filter (name: !facts.${name}) (builtins.attrNames facts);
in
{
  starts = pkgs.runCommand "kache-starts" { } ''
    export HOME=$PWD/home
    ${package pkgs}/bin/kache --version > $out
    ${package pkgs}/bin/kache list >> $out
  '';

  salt =
    if broken == [ ] then
      pkgs.runCommand "kache-salt" { } "echo ${some} > $out"
    else
      throw "kache: not true: ${builtins.concatStringsSep "; " broken}";
}
