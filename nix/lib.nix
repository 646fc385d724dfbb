# For flakes and shells that use kache.
{ package }:
let
  toList = given: if builtins.isList given then given else [ given ];

  outPath =
    tool:
    if builtins.isAttrs tool && tool ? outPath then
      # its closure's name, and nothing that has to be built to be known
      builtins.unsafeDiscardStringContext (toString tool.outPath)
    else
      throw "kache: keySalt takes packages; this is a ${builtins.typeOf tool}";

  # What a salt is made of, in order.
  paths = pkgs: tools: builtins.sort builtins.lessThan (map outPath (toList tools ++ [ pkgs.stdenv.cc ]));

  # keySalt pkgs tools: a value that changes when one of the tools does, or the C compiler that pkgs links with.
  # Known when the flake is evaluated. With input-addressed paths a tool's path changes with all below it, so this is
  # as strong as a hash of the closure; a development shell's own path would change with every linter in it.
  keySalt =
    pkgs: tools:
    if toList tools == [ ] then
      throw "kache: keySalt of no tools would be everybody's; name the toolchain: keySalt pkgs [ rustc cargo ]"
    else
      "nixe1-"
      + builtins.substring 0 32 (builtins.hashString "sha256" (builtins.concatStringsSep "\n" (paths pkgs tools)));

  # mkKacheShell pkgs { toolchain; packages ? [ ]; ... }: pkgs.mkShell with kache as Cargo's wrapper and the
  # toolchain's salt; whatever else is given goes to mkShell as it is.
  mkKacheShell =
    pkgs:
    {
      toolchain,
      packages ? [ ],
      kache ? package pkgs,
      ...
    }@arguments:
    pkgs.mkShell (
      {
        KACHE_KEY_SALT = keySalt pkgs toolchain;
        # for `kache salt --check` and `kache doctor`
        KACHE_KEY_SALT_OF = builtins.concatStringsSep " " (paths pkgs toolchain);
        RUSTC_WRAPPER = "kache";
      }
      // builtins.removeAttrs arguments [
        "toolchain"
        "kache"
      ]
      // {
        packages = [ kache ] ++ toList toolchain ++ packages;
      }
    );
in
{
  inherit keySalt mkKacheShell;
}
