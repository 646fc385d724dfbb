# For `import <nixpkgs> { }`.
{ }: (builtins.getFlake "path:${toString ./.}").legacyPackages.x86_64-linux
